{% include 'common/tests/process.py' %}
