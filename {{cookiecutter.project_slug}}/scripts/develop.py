{% include 'common/scripts/develop.py' %}
