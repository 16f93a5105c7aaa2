{% include 'common/service/slots.py' %}
