{% include 'common/scripts/postgres.py' %}
