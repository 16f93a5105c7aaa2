{% include 'common/tests/test_routing.py' %}
