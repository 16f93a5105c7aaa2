{% include 'framework/' ~ cookiecutter.framework ~ '/service/app.py' %}
