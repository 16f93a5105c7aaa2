{% include 'common/service/constraints.py' %}
