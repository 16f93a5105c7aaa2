{% include 'common/service/database_url.py' %}
