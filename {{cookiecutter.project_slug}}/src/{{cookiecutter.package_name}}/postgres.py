{% include 'common/service/postgres.py' %}
