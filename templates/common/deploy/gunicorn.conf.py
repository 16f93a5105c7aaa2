"""gunicorn's settings. Most come from the environment, and gunicorn's own flags win over all."""

from service import master, worker

settings = master.load_settings()

bind = "127.0.0.1:8000"
workers = settings.web_concurrency
worker_class = worker.Worker
graceful_timeout = settings.graceful_timeout

# The clients whose X-Forwarded headers are trusted, in addition to those of the Unix socket.
forwarded_allow_ips = ",".join(settings.forwarded_allow_ips)

# Seconds. Longer than nginx's 60, because the side that sends requests should close first.
keepalive = 75

# The control socket would be created in the home folder, which may not exist.
control_socket_disable = True

# The service itself writes one log line for each request.
accesslog = None

# Hooks, which gunicorn calls in its master process.
on_starting = master.on_starting
on_reload = master.on_reload
child_exit = master.child_exit
