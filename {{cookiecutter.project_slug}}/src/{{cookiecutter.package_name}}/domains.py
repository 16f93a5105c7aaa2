{% include 'common/service/domains.py' %}
