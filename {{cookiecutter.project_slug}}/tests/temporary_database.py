{% include 'common/tests/temporary_database.py' %}
