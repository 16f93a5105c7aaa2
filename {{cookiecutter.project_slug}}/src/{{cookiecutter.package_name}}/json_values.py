{% include 'common/service/json_values.py' %}
