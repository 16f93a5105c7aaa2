{% include 'common/service/tracing.py' %}
