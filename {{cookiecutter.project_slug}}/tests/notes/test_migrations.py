{% include 'common/tests/notes/test_migrations.py' %}
