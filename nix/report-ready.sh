# Tells Azure that this machine is up, as its agent and cloud-init do.
#
# Every machine reaches its host at the address below. It asks for its goal, which says what it is called,
# and answers that it is ready. A machine that nobody asked to be provisioned is answered the same.
# AZURE_NIXOS_HOST names another place, for tests.
# shellcheck shell=bash
host=${AZURE_NIXOS_HOST:-http://168.63.129.16}

# The host answers late or not at all while a machine is new; systemd tries again what fails here.
ask() {
    curl --silent --show-error --fail --max-time 20 --header 'x-ms-version: 2012-11-30' "$@"
}

# The text of the first element of that name. The goal is small and has no attributes where we look.
element() {
    local rest=${goal#*"<$1>"}
    if [ "$rest" = "$goal" ]; then
        echo "the goal of this machine has no <$1>: $goal" >&2
        return 1
    fi
    printf '%s' "${rest%%"</$1>"*}"
}

goal=$(ask "$host/machine/?comp=goalstate") || exit 1
incarnation=$(element Incarnation) || exit 1
container=$(element ContainerId) || exit 1
instance=$(element InstanceId) || exit 1

ask --output /dev/null --header 'content-type: text/xml; charset=utf-8' --data-binary @- \
    "$host/machine?comp=health" <<XML
<?xml version="1.0" encoding="utf-8"?>
<Health>
  <GoalStateIncarnation>$incarnation</GoalStateIncarnation>
  <Container>
    <ContainerId>$container</ContainerId>
    <RoleInstanceList>
      <Role>
        <InstanceId>$instance</InstanceId>
        <Health><State>Ready</State></Health>
      </Role>
    </RoleInstanceList>
  </Container>
</Health>
XML
echo "told Azure that this machine is ready"
