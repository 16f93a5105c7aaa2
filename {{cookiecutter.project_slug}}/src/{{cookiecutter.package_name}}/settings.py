{% include 'common/service/settings.py' %}
