{% include 'common/migrations/versions/2026_11_22_1200_notes.py' %}
