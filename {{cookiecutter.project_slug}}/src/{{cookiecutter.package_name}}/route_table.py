{% include 'common/service/route_table.py' %}
