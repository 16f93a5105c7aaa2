{% include 'common/service/notes/lifespan.py' %}
