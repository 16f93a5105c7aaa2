{% include 'common/service/master.py' %}
