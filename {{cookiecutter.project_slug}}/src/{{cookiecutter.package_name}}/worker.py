{% include 'common/service/worker.py' %}
