{% include 'common/scripts/upstream.py' %}
