{% include 'common/tests/databases.py' %}
