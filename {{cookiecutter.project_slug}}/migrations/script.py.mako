{% include 'common/migrations/script.py.mako' %}
