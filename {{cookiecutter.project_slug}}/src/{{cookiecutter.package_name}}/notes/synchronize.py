{% include 'common/service/notes/synchronize.py' %}
