{% include 'common/scripts/load.py' %}
