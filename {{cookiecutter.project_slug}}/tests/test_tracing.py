{% include 'common/tests/test_tracing.py' %}
