{% include 'common/tests/notes/test_tracing.py' %}
