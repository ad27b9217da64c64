// Dark or light as Airflow's own, else as the system's; before anything is painted.
(() => {
  const airflow = () => {
    try {
      return parent === window ? null : parent.document.documentElement;
    } catch {
      return null; // framed by another origin
    }
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const theme = () => {
    for (const name of ["dark", "light"]) {
      if (airflow()?.classList.contains(name)) return name;
    }
    const chosen = localStorage.getItem("theme"); // in Airflow, for a page outside of its frame
    if (chosen === "dark" || chosen === "light") return chosen;
    return system.matches ? "dark" : "light";
  };
  const apply = () => { document.documentElement.dataset.theme = theme(); };
  apply();
  addEventListener("storage", apply);
  system.addEventListener("change", apply);
  if (airflow()) new MutationObserver(apply).observe(airflow(), { attributeFilter: ["class"] });
})();
