"""The board's side, files in flow order. `machine` and `fetch` are pure; `runner` alone knows several stages."""
