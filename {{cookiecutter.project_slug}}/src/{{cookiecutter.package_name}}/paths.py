{% include 'common/service/paths.py' %}
