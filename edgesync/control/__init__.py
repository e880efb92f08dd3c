"""The server's side, files in flow order. `desired`, `planner`, `rollout` are pure; `service` alone knows several."""
