{% include 'common/tests/wire.py' %}
