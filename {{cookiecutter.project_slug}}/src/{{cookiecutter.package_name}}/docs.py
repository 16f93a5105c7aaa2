{% include 'common/service/docs.py' %}
