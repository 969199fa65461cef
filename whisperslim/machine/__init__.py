"""What is particular to the machine: installed extras, network, folders, memory."""
