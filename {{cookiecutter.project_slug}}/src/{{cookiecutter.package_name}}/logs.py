{% include 'common/service/logs.py' %}
