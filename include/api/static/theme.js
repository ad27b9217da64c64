// Dark or light as Airflow's own, also while it is switched; before anything is painted.
(() => {
  const airflow = () => {
    try {
      return parent === window ? null : parent.document.documentElement;
    } catch {
      return null; // framed by another origin
    }
  };
  const apply = () => {
    let theme = null;
    for (const name of ["dark", "light"]) {
      if (airflow()?.classList.contains(name)) theme = name;
    }
    theme ??= localStorage.getItem("theme");
    const root = document.documentElement;
    if (theme === "dark" || theme === "light") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  apply();
  addEventListener("storage", apply);
  if (airflow()) {
    new MutationObserver(apply).observe(airflow(), { attributeFilter: ["class"] });
  }
})();
