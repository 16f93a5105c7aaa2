{% include 'common/tests/postgres_proxy.py' %}
