{% include 'common/service/main.py' %}
