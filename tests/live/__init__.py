"""The rendered deploy/ files, run: nginx, gunicorn, the service, PgBouncer and PostgreSQL.

Everything is real and on loopback: only ports, paths and the host of PostgreSQL are replaced. Each
address of 127.0.0.0/8 is another client to nginx.
"""
