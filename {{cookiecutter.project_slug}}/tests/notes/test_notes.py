{% include 'common/tests/notes/test_notes.py' %}
