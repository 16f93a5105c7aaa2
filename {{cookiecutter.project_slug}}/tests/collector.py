{% include 'common/tests/collector.py' %}
