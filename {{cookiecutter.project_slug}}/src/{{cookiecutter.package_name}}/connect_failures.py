{% include 'common/service/connect_failures.py' %}
