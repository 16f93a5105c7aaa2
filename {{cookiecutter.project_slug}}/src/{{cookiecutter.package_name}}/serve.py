{% include 'common/service/serve.py' %}
