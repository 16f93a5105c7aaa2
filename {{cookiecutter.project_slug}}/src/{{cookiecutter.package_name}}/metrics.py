{% include 'common/service/metrics.py' %}
