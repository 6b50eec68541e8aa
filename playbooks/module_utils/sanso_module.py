"""How Ansible runs what both engines run: arguments in, a result out."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.sanso_trial import Failed


def serve(run, options):
    """Call run(arguments, checking) as a module with these options. It raises Failed with a message for a person."""
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    try:
        result = run(module.params, module.check_mode)
    except (Failed, OSError) as error:
        module.fail_json(msg=str(error))
    if not module._diff:  # nobody asked for one, or the task says `diff: false`: it may hold a secret
        result.pop("diff", None)
    module.exit_json(**result)
