{% include 'common/service/lifespan.py' %}
