"""All layers in their order, as site.yml: pyinfra @sanso/inventory/local deploys/site.py

One of them alone: pyinfra @sanso/inventory/local deploys/layer_web.py
Only what decides who gets in: pyinfra @sanso/inventory/local deploys.layer_os.access_alone
"""

from deploys import layer_app, layer_database, layer_os, layer_web

layer_os.layer()
layer_web.layer()
layer_database.layer()
layer_app.layer()
