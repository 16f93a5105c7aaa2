{% include 'common/service/etags.py' %}
