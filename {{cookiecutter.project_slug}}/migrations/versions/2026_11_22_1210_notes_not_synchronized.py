{% include 'common/migrations/versions/2026_11_22_1210_notes_not_synchronized.py' %}
