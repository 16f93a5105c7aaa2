{% include 'common/tests/failing_writes.py' %}
