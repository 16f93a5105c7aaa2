{% include 'common/tests/test_migrations.py' %}
