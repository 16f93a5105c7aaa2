{% include 'common/service/middleware.py' %}
