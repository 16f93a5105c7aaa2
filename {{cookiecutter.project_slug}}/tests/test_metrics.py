{% include 'common/tests/test_metrics.py' %}
