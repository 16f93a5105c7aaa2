{% include 'common/scripts/remove_example.py' %}
